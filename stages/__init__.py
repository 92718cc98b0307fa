"""What happens to speech: one file a stage, one folder where a stage has several backends. This list is all there is to register."""
