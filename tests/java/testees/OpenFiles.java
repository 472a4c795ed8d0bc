import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** Files have their own offsets, a mapped file stays that file, direct buffers are copies, a lock on a whole file stays the master's. */
public final class OpenFiles {
    public static void main(String[] args) throws Exception {
        Path folder = Files.createTempDirectory("gridcentric");
        Path read = Files.writeString(folder.resolve("read"), "0123456789"), mapped = folder.resolve("mapped"), locked = folder.resolve("locked");
        RandomAccessFile reader = new RandomAccessFile(read.toFile(), "r");
        reader.seek(4);
        FileChannel channel = FileChannel.open(mapped, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
        MappedByteBuffer map = channel.map(FileChannel.MapMode.READ_WRITE, 0, 4096);
        ByteBuffer direct = ByteBuffer.allocateDirect(1 << 20);
        direct.putInt(0, 42);
        FileChannel owner = FileChannel.open(locked, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        FileLock lock = owner.lock();
        owner.write(ByteBuffer.wrap("master".getBytes()));

        Family.clones(2, () -> {
            Family.checkEqual((char) reader.read(), '4', "the offset that was inherited");
            Family.checkEqual((char) reader.read(), '5', "an offset of its own");
            map.putInt(4 * Family.GUEST.vmid(), 100 + Family.GUEST.vmid());
            map.force();
            Family.checkEqual(direct.getInt(0), 42, "a direct buffer");
            direct.putInt(0, Family.GUEST.vmid());
            try {
                owner.write(ByteBuffer.wrap("clone".getBytes()));
                throw new AssertionError("a clone writes to a file that its master has locked");
            } catch (IOException expected) {
                // The clone's descriptor is read-only.
            }
            return "";
        });
        Family.checkEqual((char) reader.read(), '4', "the master's offset");
        Family.checkEqual(map.getInt(4) + map.getInt(8), 101 + 102, "what clones wrote to the mapped file");
        Family.checkEqual(direct.getInt(0), 42, "the master's direct buffer");
        Family.check(lock.isValid(), "the master's lock");
        Family.check(Family.GUEST.explain().report().contains(locked.toString()), "explain() names the locked file: " + Family.GUEST.explain().report());
        owner.close(); // as POSIX has it, closing any descriptor of a file gives its locks back
        Family.checkEqual(Files.readString(locked), "master", "the locked file");
        for (Path file : new Path[] {read, mapped, locked, folder}) Files.delete(file);
    }
}
