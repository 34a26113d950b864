"""How people are summed to the cells of the two tables, in SQL, and how the tables are kept in files."""
