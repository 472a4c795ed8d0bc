package ca.gridcentric.guest;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;

/**
 * Finds and loads the native library: in the folder that the system property {@code gridcentric.library.path} names, then on {@code java.library.path},
 * then from the jar. From the jar it and the two programs that it starts (gc for a private host, gc-reaper beside each clone) are
 * written to a folder of this user, named after their contents: a second program, and a clone that clones, find them there. It must not know
 * any call.
 */
final class NativeLibrary {
    private static final String NAME = "gridcentric_java";
    private static final List<String> FILES = List.of("lib" + NAME + ".so", "gc", "gc-reaper");

    private NativeLibrary() {}

    static void load() {
        String folder = System.getProperty("gridcentric.library.path");
        if (folder != null) {
            System.load(Path.of(folder, FILES.get(0)).toAbsolutePath().toString());
            return;
        }
        if (installed()) System.loadLibrary(NAME);
        else System.load(unpack().resolve(FILES.get(0)).toString());
    }

    private static boolean installed() {
        for (String folder : System.getProperty("java.library.path", "").split(":"))
            if (!folder.isEmpty() && Files.exists(Path.of(folder, FILES.get(0)))) return true;
        return false;
    }

    private static Path unpack() {
        String system = System.getProperty("os.name").toLowerCase() + "-" + System.getProperty("os.arch").replace("amd64", "x86_64");
        String inside = "/ca/gridcentric/guest/native/" + system + "/";
        try {
            byte[][] contents = new byte[FILES.size()][];
            for (int at = 0; at < contents.length; ++at) contents[at] = read(inside + FILES.get(at), system);
            Path folder = folderOf(contents);
            for (int at = 0; at < contents.length; ++at) write(folder.resolve(FILES.get(at)), contents[at]);
            return folder;
        } catch (IOException failed) {
            throw new UnsatisfiedLinkError("cannot unpack gridcentric's native library: " + failed
                    + "; let XDG_CACHE_HOME name a folder that you can write to, or the property gridcentric.library.path one that has the library");
        }
    }

    private static byte[] read(String name, String system) throws IOException {
        try (InputStream in = NativeLibrary.class.getResourceAsStream(name)) {
            if (in == null)
                throw new UnsatisfiedLinkError("gridcentric's jar has no native library for " + system
                        + ": it runs on Linux x86-64; let the property gridcentric.library.path name a folder that has one");
            return in.readAllBytes();
        }
    }

    /** A folder that only this user can write to. */
    private static Path folderOf(byte[][] contents) throws IOException {
        Path folder = cache().resolve("gridcentric").resolve("java-" + digest(contents));
        Files.createDirectories(folder.getParent());
        var mine = PosixFilePermissions.fromString("rwx------");
        if (!Files.isDirectory(folder)) {
            try {
                Files.createDirectory(folder, PosixFilePermissions.asFileAttribute(mine));
            } catch (java.nio.file.FileAlreadyExistsException another) {
                // Another program of this user has just begun.
            }
        }
        if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)
                || !Files.getPosixFilePermissions(folder).equals(mine)
                || !Files.getAttribute(folder, "unix:uid").equals(Files.getAttribute(Path.of("/proc/self"), "unix:uid")))
            throw new IOException(folder + " is not a folder of this user alone (expected mode 0700): remove it");
        return folder;
    }

    private static Path cache() {
        String named = System.getenv("XDG_CACHE_HOME");
        if (named != null && named.startsWith("/")) return Path.of(named);
        Path home = Path.of(System.getProperty("user.home"));
        if (home.isAbsolute() && Files.isWritable(home)) return home.resolve(".cache");
        return Path.of(System.getProperty("java.io.tmpdir"), "gridcentric-" + System.getProperty("user.name"));
    }

    private static String digest(byte[][] contents) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            for (byte[] content : contents) digest.update(content);
            return HexFormat.of().formatHex(digest.digest(), 0, 8);
        } catch (NoSuchAlgorithmException impossible) {
            throw new AssertionError(impossible);
        }
    }

    /** Whole or not at all, as other programs may be at the same file. */
    private static void write(Path file, byte[] content) throws IOException {
        if (Files.exists(file) && Arrays.equals(Files.readAllBytes(file), content)) return;
        Path half = Files.createTempFile(file.getParent(), "new", "");
        try {
            Files.write(half, content);
            Files.setPosixFilePermissions(half, PosixFilePermissions.fromString("rwx------"));
            Files.move(half, file, StandardCopyOption.ATOMIC_MOVE);
        } catch (AtomicMoveNotSupportedException impossible) {
            throw new IOException(impossible);
        } finally {
            Files.deleteIfExists(half);
        }
    }
}
