"""Which rows run and which blocks of the cache they hold."""
