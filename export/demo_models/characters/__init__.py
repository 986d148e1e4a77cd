"""Characters: smooth three-dimensional heads, and their cartoons."""
