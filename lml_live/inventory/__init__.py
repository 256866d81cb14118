"""Who holds what: seat states, holds, the event's log, live rooms, and recovery."""
