"""What runs inside a bento. It stands alone: each bento's source is a copy of it, named `lockgate_serving`."""
