"""Oracle networks: trained from recipes, dropped with a known answer, and kept in a zoo.

A method that solves one puzzle proves little. A network of our own, of which every pair and the
order are known, shows what a method can do; a zoo of them shows what it cannot.
"""
