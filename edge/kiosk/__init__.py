"""The page on the drop point's screen: shows the station's screen, hands presses to it, decides nothing itself."""
