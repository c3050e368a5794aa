"""The tour: five stops that show what the console can do, on the runs of a database."""
