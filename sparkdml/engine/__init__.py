"""One pass over the data, wherever they live, and the loop of passes that is a fit."""
