//! Who is it: the auth file, passwords, and the rules that follow from them.
