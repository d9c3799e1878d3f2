"""Tables of ratings as people have them: read, understood, and checked before anything is trained."""
