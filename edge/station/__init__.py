"""The kiosk session: deposit and pickup as pure state machines, and the station that runs them."""
