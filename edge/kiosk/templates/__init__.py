"""Jinja templates, one per screen. A package only so that its files are installed."""
