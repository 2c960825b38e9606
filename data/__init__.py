"""Problems, exact verifiers, response parsing and demonstration traces. Imports neither torch nor any other room."""
