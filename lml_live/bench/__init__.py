"""`lml bench`: what an operation costs, beside its limit and its peers, measured on this machine in this minute."""
