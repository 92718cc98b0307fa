"""How wrong the labels of a corpus are, against gold."""
