"""What a file can add to eetui: exit methods and corpus readers, built in or users' own. Imports none of them."""
