<?php // The router of `php -S`.
header("Content-Type: text/plain");
echo getenv("WHO"), " ", getmypid(), "\n";
