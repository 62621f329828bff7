"""Where the pictures of an evaluation come from: folders, data sets, and what models make."""
