"""Messages and their translations, through gettext catalogues."""
