"""What leaves the store: disclosure rules and the release bundle."""
