"""`silver serve`: the page of `silver report` over every segment of a corpus, with audio cut when it is asked for."""
