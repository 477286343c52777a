"""Reading a data root: tables, features, and data that cannot be used."""
