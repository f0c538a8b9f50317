"""Running ReLoop: here and now (`local`), on a gateway, in a data centre."""
