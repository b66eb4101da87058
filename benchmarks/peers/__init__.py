"""sparkdml and its peers on the same data: shapes, contestants, and what is told of them."""
