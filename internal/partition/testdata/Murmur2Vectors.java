import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Random;
import org.apache.kafka.common.utils.Utils;

/** Prints "hex-key murmur2 partition-of-1 -of-3 -of-4 -of-12 -of-100" lines: java -cp 'libs/*' Murmur2Vectors.java > vectors.txt */
public class Murmur2Vectors {
    static void line(byte[] key) {
        StringBuilder b = new StringBuilder();
        b.append(key.length == 0 ? "-" : HexFormat.of().formatHex(key));
        int h = Utils.murmur2(key);
        b.append(' ').append(Integer.toUnsignedString(h));
        for (int n : new int[] {1, 3, 4, 12, 100}) {
            b.append(' ').append(Utils.toPositive(h) % n);
        }
        System.out.println(b);
    }

    public static void main(String[] args) {
        String[] texts = {"", "a", "ab", "abc", "abcd", "abcde", "21", "foobar", "a-little-bit-long-string",
            "a-little-bit-longer-string", "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", "värde",
            "ключ", "値", "🌊", "a\u0000b", "6f1f4a1e-2b8e-4f5e-9a53-6a7f1f0f9d10", "e2d5a9c1-0000-4000-8000-000000000000"};
        for (String t : texts) line(t.getBytes(StandardCharsets.UTF_8));
        for (int n = 1; n <= 9; n++) {
            byte[] ones = new byte[n];
            java.util.Arrays.fill(ones, (byte) 0xff);
            line(ones);
            line(new byte[n]);
        }
        Random r = new Random(1);
        for (int n = 0; n < 130; n++) {
            byte[] k = new byte[n % 65];
            r.nextBytes(k);
            line(k);
        }
    }
}
