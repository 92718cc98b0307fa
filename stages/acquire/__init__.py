"""Where the audio comes from: folders, web addresses, podcast feeds, and all that yt-dlp reads."""
