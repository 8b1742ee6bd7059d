"""Lockgate's bento, direct and through the router, beside other model servers with the same model."""
