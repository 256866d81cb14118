"""What is sold and for how much: events, prices, quotes."""
