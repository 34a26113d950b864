"""Who is kept out: by a lack of digital access, or of basic skills."""
