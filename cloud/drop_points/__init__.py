"""Drop points: the sites where people bring material."""
