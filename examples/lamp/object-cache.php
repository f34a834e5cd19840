<?php
/* WordPress's object cache in Redis, by the extension php-redis: a small drop-in of enginx's own, since Debian
 * has none. WordPress loads it from wp-content/object-cache.php in place of wp-includes/cache.php.
 *
 * What a request has read or written it keeps itself, too, and asks Redis once. When Redis cannot be reached
 * the request goes on with that alone; a Redis that was restarted begins empty, so nothing stale is left. Whole
 * numbers are stored as such, all else by serialize(). incr and decr are a read and a write: two at the same
 * time may count as one. */

class WP_Object_Cache
{
    const SECONDS_MAX = 2.0; // to connect, and for each answer

    public int $cache_hits = 0;
    public int $cache_misses = 0;
    private ?Redis $redis = null;
    private array $kept = [];      // name in Redis → value
    private array $global = [];    // groups that all blogs of a network share, as keys
    private array $temporary = []; // groups that no other request may see, as keys
    private int $blog;

    public function __construct()
    {
        $this->blog = get_current_blog_id();
        if (!class_exists('Redis'))
            return;
        $redis = new Redis();
        try {
            if ($redis->connect(LAMP_REDIS[0], LAMP_REDIS[1], self::SECONDS_MAX, null, 0, self::SECONDS_MAX))
                $this->redis = $redis;
        } catch (RedisException $error) {
            $this->lost($error);
        }
    }

    private function lost(RedisException $error): void
    {
        error_log('object cache: ' . $error->getMessage());
        $this->redis = null;
    }

    /* What Redis answers to the command, or `$otherwise` without it. */
    private function ask(bool $temporary, $otherwise, string $command, ...$arguments)
    {
        if ($temporary || !$this->redis)
            return $otherwise;
        try {
            return $this->redis->$command(...$arguments);
        } catch (RedisException $error) {
            $this->lost($error);
            return $otherwise;
        }
    }

    private function name($key, string &$group): ?string
    {
        if ((!is_int($key) && !is_string($key)) || trim((string) $key) === '')
            return null;
        $group = $group === '' ? 'default' : $group;
        $blog = isset($this->global[$group]) ? '' : $this->blog;
        return "wp:$blog:$group:$key";
    }

    private static function encode($value): string
    {
        return is_int($value) ? (string) $value : serialize($value);
    }

    private static function decode(string $text)
    {
        return preg_match('/^-?\d+$/D', $text) ? (int) $text : unserialize($text);
    }

    private static function copy($value)
    {
        return is_object($value) ? clone $value : $value;
    }

    /* `$condition`: nx (only if it is not there), xx (only if it is), or nothing. */
    private function store($key, $value, string $group, $seconds, string $condition = ''): bool
    {
        $name = $this->name($key, $group);
        if ($name === null)
            return false;
        $temporary = isset($this->temporary[$group]);
        $options = $condition === '' ? [] : [$condition];
        if ((int) $seconds > 0)
            $options['ex'] = (int) $seconds;
        $here = array_key_exists($name, $this->kept);
        $alone = $condition === '' || $here === ($condition === 'xx');
        if (!$this->ask($temporary, $alone, 'set', $name, self::encode($value), $options))
            return false;
        $this->kept[$name] = self::copy($value);
        return true;
    }

    public function add($key, $value, $group = '', $seconds = 0): bool
    {
        return !wp_suspend_cache_addition() && $this->store($key, $value, $group, $seconds, 'nx');
    }

    public function replace($key, $value, $group = '', $seconds = 0): bool
    {
        return $this->store($key, $value, $group, $seconds, 'xx');
    }

    public function set($key, $value, $group = '', $seconds = 0): bool
    {
        return $this->store($key, $value, $group, $seconds);
    }

    public function get($key, $group = '', $force = false, &$found = null)
    {
        return $this->get_multiple([$key], $group, $force, $found)[$key] ?? false;
    }

    public function get_multiple($keys, $group = '', $force = false, &$found = null): array
    {
        $values = $missing = [];
        foreach ($keys as $key) {
            $values[$key] = false;
            $name = $this->name($key, $group);
            $here = $name !== null && array_key_exists($name, $this->kept);
            if ($here && (!$force || isset($this->temporary[$group])))
                $values[$key] = self::copy($this->kept[$name]);
            elseif ($name !== null)
                $missing[$key] = $name;
        }
        $found = $missing === [];
        $this->cache_hits += count($keys) - count($missing);
        if ($missing === [])
            return $values;
        $texts = $this->ask(isset($this->temporary[$group]), [], 'mGet', array_values($missing)) ?: [];
        foreach (array_keys($missing) as $index => $key) {
            $text = $texts[$index] ?? false;
            $this->{$text === false ? 'cache_misses' : 'cache_hits'}++;
            if ($text === false)
                continue;
            $found = true;
            $this->kept[$missing[$key]] = self::decode($text);
            $values[$key] = self::copy($this->kept[$missing[$key]]);
        }
        return $values;
    }

    public function delete($key, $group = ''): bool
    {
        $name = $this->name($key, $group);
        if ($name === null)
            return false;
        $here = array_key_exists($name, $this->kept);
        unset($this->kept[$name]);
        return (bool) $this->ask(isset($this->temporary[$group]), $here, 'del', $name);
    }

    public function incr($key, $offset = 1, $group = '')
    {
        $value = $this->get($key, $group, false, $found);
        if (!$found)
            return false;
        $value = max(0, (is_numeric($value) ? (int) $value : 0) + (int) $offset);
        $name = $this->name($key, $group);
        $this->ask(isset($this->temporary[$group]), true, 'set', $name, self::encode($value), ['xx', 'keepttl']);
        return $this->kept[$name] = $value;
    }

    public function flush(): bool
    {
        $this->kept = [];
        return (bool) $this->ask(false, true, 'flushDB');
    }

    public function flush_runtime(): bool
    {
        $this->kept = [];
        return true;
    }

    public function groups_add(string $which, $groups): void
    {
        $this->$which += array_fill_keys((array) $groups, true);
    }

    public function switch_to_blog($blog): void
    {
        $this->blog = (int) $blog;
    }

    public function stats(): void
    {
        echo "<p>hits: $this->cache_hits, misses: $this->cache_misses, Redis: " . ($this->redis ? 'yes' : 'no') . '</p>';
    }
}

/* The functions that WordPress calls; those that are missing here are made of these by cache-compat.php. */
function wp_cache_init() { $GLOBALS['wp_object_cache'] = new WP_Object_Cache(); }
function wp_cache_close() { return true; }
function wp_cache_add($key, $data, $group = '', $expire = 0) { return $GLOBALS['wp_object_cache']->add($key, $data, $group, $expire); }
function wp_cache_replace($key, $data, $group = '', $expire = 0) { return $GLOBALS['wp_object_cache']->replace($key, $data, $group, $expire); }
function wp_cache_set($key, $data, $group = '', $expire = 0) { return $GLOBALS['wp_object_cache']->set($key, $data, $group, $expire); }
function wp_cache_get($key, $group = '', $force = false, &$found = null) { return $GLOBALS['wp_object_cache']->get($key, $group, $force, $found); }
function wp_cache_get_multiple($keys, $group = '', $force = false) { return $GLOBALS['wp_object_cache']->get_multiple($keys, $group, $force); }
function wp_cache_delete($key, $group = '') { return $GLOBALS['wp_object_cache']->delete($key, $group); }
function wp_cache_incr($key, $offset = 1, $group = '') { return $GLOBALS['wp_object_cache']->incr($key, $offset, $group); }
function wp_cache_decr($key, $offset = 1, $group = '') { return $GLOBALS['wp_object_cache']->incr($key, -(int) $offset, $group); }
function wp_cache_flush() { return $GLOBALS['wp_object_cache']->flush(); }
function wp_cache_flush_runtime() { return $GLOBALS['wp_object_cache']->flush_runtime(); }
function wp_cache_supports($feature) { return in_array($feature, ['get_multiple', 'flush_runtime'], true); }
function wp_cache_add_global_groups($groups) { $GLOBALS['wp_object_cache']->groups_add('global', $groups); }
function wp_cache_add_non_persistent_groups($groups) { $GLOBALS['wp_object_cache']->groups_add('temporary', $groups); }
function wp_cache_switch_to_blog($blog) { $GLOBALS['wp_object_cache']->switch_to_blog($blog); }
