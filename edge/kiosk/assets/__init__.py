"""Style sheet, script and marks of the page. A package only so that its files are installed."""
