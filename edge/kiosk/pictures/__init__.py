"""Our own pictures of materials, named as catalogues name them. A package only so that they are installed."""
