package ca.gridcentric.guest;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;

/**
 * Finds and loads the native library: in the folder that the system property {@code gridcentric.library.path} names, then on {@code java.library.path},
 * then from the jar. From the jar it and the two programs that it starts (gc for a private host, gc-reaper beside each clone) are
 * written to a folder of this user, named after their contents: a second program, and a clone that clones, find them there. It must not know
 * any call.
 */
final class NativeLibrary {
    private static final String NAME = "gridcentric_java";
    private static final String FILE = "lib" + NAME + ".so";

    private NativeLibrary() {}

    static void load() {
        String folder = System.getProperty("gridcentric.library.path");
        if (folder != null) {
            System.load(Path.of(folder, FILE).toAbsolutePath().toString());
            return;
        }
        if (installed()) System.loadLibrary(NAME);
        else System.load(unpack().resolve(FILE).toString());
    }

    private static boolean installed() {
        for (String folder : System.getProperty("java.library.path", "").split(":"))
            if (!folder.isEmpty() && Files.exists(Path.of(folder, FILE))) return true;
        return false;
    }

    private static Path unpack() {
        String system = System.getProperty("os.name").toLowerCase() + "-" + System.getProperty("os.arch").replace("amd64", "x86_64");
        String inside = "/ca/gridcentric/guest/native/" + system + "/";
        try {
            // Made with the jar, so that a program which starts need not read the files: a line with a sum of them all, then NAME SIZE each.
            List<String> list = read(inside + "list", system, in -> new String(in.readAllBytes(), StandardCharsets.UTF_8)).lines().toList();
            Path folder = folderFor(list.get(0));
            for (String line : list.subList(1, list.size())) {
                String[] words = line.split(" ");
                Path file = folder.resolve(words[0]);
                if (Files.exists(file) && Files.size(file) == Long.parseLong(words[1])) continue;
                write(file, read(inside + words[0], system, InputStream::readAllBytes));
            }
            return folder;
        } catch (IOException failed) {
            throw new UnsatisfiedLinkError("cannot unpack gridcentric's native library: " + failed
                    + "; let XDG_CACHE_HOME name a folder that you can write to, or the property gridcentric.library.path one that has the library");
        }
    }

    private interface Reader<T> {
        T from(InputStream in) throws IOException;
    }

    private static <T> T read(String name, String system, Reader<T> reader) throws IOException {
        try (InputStream in = NativeLibrary.class.getResourceAsStream(name)) {
            if (in == null)
                throw new UnsatisfiedLinkError("gridcentric's jar has no native library for " + system
                        + ": it runs on Linux x86-64; let the property gridcentric.library.path name a folder that has one");
            return reader.from(in);
        }
    }

    /** A folder that only this user can write to. */
    private static Path folderFor(String sum) throws IOException {
        Path folder = cache().resolve("gridcentric").resolve("java-" + sum);
        Files.createDirectories(folder.getParent());
        var mine = PosixFilePermissions.fromString("rwx------");
        if (!Files.isDirectory(folder)) {
            try {
                Files.createDirectory(folder, PosixFilePermissions.asFileAttribute(mine));
            } catch (FileAlreadyExistsException another) {
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

    /** Whole or not at all, as other programs may be at the same file. */
    private static void write(Path file, byte[] content) throws IOException {
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
