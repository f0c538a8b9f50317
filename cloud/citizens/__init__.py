"""Citizens, their member cards and tags. A citizen is a pseudonym and an alias; no name is kept here."""
