"""How the world reaches the server: REST, the live socket, pages."""
