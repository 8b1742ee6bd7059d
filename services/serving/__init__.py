"""What runs inside a bento. It stands alone: a copy of this folder, named `lockgate_serving`, is each bento's source."""
