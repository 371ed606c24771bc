"""From bytes to prices: the threads and channels a tick travels through, in order."""
