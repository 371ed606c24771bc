"""The technologies behind the ports; groups never import each other."""
