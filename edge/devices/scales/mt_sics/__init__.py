"""MT-SICS: Mettler Toledo and its many clones. Request and answer, ASCII, CR LF."""
