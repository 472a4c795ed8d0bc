// The same listings as C++.
#include "listings.c"
