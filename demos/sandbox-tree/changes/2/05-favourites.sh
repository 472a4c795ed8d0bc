# Put favourites first
echo 'nanana' > favourites.txt
echo 'suggest_words = suggest


def suggest(index, start, limit):
    return open("favourites.txt").read().split() + suggest_words(index, start, limit)' >> suggest.py
