# Keep the words, not the text
tr ' ' '\n' < text.txt | LC_ALL=C sort -u > words.txt
rm text.txt
