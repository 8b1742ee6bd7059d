"""Model in, fastest artifact that keeps parity out.

Stands alone: nothing of ours but this folder, and of others' only numpy and the compilers that are there. It travels
into each bento as well, where a replica loads artifacts with it and proves them again on other hardware.
"""
