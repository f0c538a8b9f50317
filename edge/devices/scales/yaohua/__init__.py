"""Yaohua XK3190 and its clones: A9 framed with XOR, `=` reversed, A12E and its unchecked clones."""
