"""The page on the drop point's screen: shows what the station shows, hands presses on, decides nothing."""
