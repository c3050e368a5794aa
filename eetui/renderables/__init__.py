"""Pure data to text or tables; nothing here knows an app, a database or a clock."""
