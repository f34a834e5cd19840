<?php
// WordPress for examples/lamp. secrets.php (made by `prepare`) has the password and the salts.
require __DIR__ . '/../secrets.php';

define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_HOST', '127.0.0.1:3306'); // enginx leads this to the service `db`, since `php` uses it
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';

define('LAMP_REDIS', ['127.0.0.1', 6379]); // object-cache.php

// The site is at whatever address it is asked for. A site on the Internet names its own here, or
// puts its routes into a `host` block.
$lamp_scheme = empty($_SERVER['HTTPS']) ? 'http' : 'https';
define('WP_HOME', $lamp_scheme . '://' . ($_SERVER['HTTP_HOST'] ?? 'localhost:8080'));
define('WP_SITEURL', WP_HOME);

// Nothing leaves this machine, and no visitor waits for chores: call wp-cron.php by a timer.
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('FS_METHOD', 'direct');
define('WP_MEMORY_LIMIT', '64M');

if (!defined('ABSPATH'))
    define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
