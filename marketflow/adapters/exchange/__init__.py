"""Where ticks come from: sockets, generated prices, recordings."""
