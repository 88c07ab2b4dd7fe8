"""Numbers, tables and progress as text, in a terminal and in HTML; knows nothing about einsum."""
