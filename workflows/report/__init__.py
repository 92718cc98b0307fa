"""`silver report`: a corpus as one page to read, look and listen, without a server and without a network."""
