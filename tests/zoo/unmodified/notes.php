<?php
// For php -S: keeps notes in a database in memory, which a persistent connection holds on to between requests.
// GET /WORD adds one and answers with all of them.
$database = new PDO('sqlite::memory:', null, null, [PDO::ATTR_PERSISTENT => true]);
$database->exec('CREATE TABLE IF NOT EXISTS notes (word TEXT)');
$word = trim(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/');
if ($word !== '') {
    $database->prepare('INSERT INTO notes VALUES (?)')->execute([$word]);
}
echo implode(' ', $database->query('SELECT word FROM notes')->fetchAll(PDO::FETCH_COLUMN));
